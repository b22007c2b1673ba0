@extends('layout')
@section('title', 'Log in')
@section('content')
<ul>
    @foreach ($users as $name => $user)
        <li><a href="/login/{{ $name }}">{{ $user->name }}</a></li>
    @endforeach
</ul>
@endsection
